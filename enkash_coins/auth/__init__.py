"""Who we are: tokens, the password grant, and the guard against the account lock."""
