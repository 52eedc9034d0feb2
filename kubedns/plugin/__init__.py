"""The door between the server and its plugins: what a plugin is given, and what it may be."""
