"""The node as a server: its port, who may connect, when it is healthy and when it stops."""
