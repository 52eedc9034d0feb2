"""What the cluster holds, from the API server or from files; knows no DNS but the tokens that its changes flip."""
