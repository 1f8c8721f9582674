"""Real servers, a byte relay that forces interleavings, and clients of every kind for the tests."""
