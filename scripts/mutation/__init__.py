"""Mutation testing: small changes for the worse, and whether the tests notice."""
