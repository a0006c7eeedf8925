"""How reports and results are shown. Reads them, and computes nothing about gradients."""
