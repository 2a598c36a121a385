//! CONNECT and CONNACK: who is let in, and what the others are told.
