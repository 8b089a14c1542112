"""Programs for the Pythons of other environments; they import nothing of subdit, and subdit imports none of them."""
