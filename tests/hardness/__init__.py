"""What goes wrong around a ledger: disks, rights, mounts, kills, copies, strange names."""
