"""A real Kafka for tests: of the caller, in a container, or from Maven's jars."""
