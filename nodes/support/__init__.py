"""What the nodes share. Nothing heavy is imported here before a node runs."""
