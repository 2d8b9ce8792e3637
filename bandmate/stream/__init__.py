"""The stream: ring buffer, schedule, engine, late policy, and a file played through them as if live."""
