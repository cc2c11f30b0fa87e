"""The coordinator's side of secure aggregation: it carries messages and opens one sum."""
