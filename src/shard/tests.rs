//! Opening, reading and verifying models.
