"""From values to bytes and back: times, plain values, lines and columns. Pure functions, no I/O."""
