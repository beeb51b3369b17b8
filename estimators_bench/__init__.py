"""What mitools measures of itself and of its peers: speed here, accuracy beside it."""
