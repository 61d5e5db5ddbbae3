"""Events, their bytes, and that every release reads what any release wrote."""
