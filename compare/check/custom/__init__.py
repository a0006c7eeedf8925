"""The parts of check_function: calling a function in every way in which autograd may, and judging what it gives."""
