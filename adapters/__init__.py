"""The outside world, one folder a neighbour; none imports another, but all may use `net`."""
