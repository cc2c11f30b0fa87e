"""The owner's messages: found, read, and split into rows to train on and rows held out."""
