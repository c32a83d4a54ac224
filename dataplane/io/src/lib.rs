//! Ports: capture files in and out, memory, and what packets enter and leave by.
