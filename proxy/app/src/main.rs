//! The data plane of the mesh.

fn main() {}
