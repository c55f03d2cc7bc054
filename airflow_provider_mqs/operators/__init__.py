"""Operators. They read the context, call the engine, push XComs; they know nothing of HTTP."""
