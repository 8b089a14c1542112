"""How well quality proxies rank sub-DiTs, against sub-DiTs that were trained on their own."""
