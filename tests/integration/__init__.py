"""The whole of it: scripts, servers, commands and an installed wheel, as users run them."""
