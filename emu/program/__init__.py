"""What the program's own file tells: symbols, lines, instructions."""
