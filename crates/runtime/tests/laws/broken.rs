//! Toys broken on purpose: each is caught, and by the law that says so.
