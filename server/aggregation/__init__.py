"""From the nodes' results of a round to the next state of the model."""
