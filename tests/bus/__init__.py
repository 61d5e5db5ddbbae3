"""The log: order, identity, locks, forks, kills."""
