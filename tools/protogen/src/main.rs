//! Writes prost messages for a set of proto files: `protogen DESCRIPTOR_SET OUT_DIR`.
//!
//! The descriptor set comes from the protoc inside grpcio-tools (see `tools/gen.py`), so no
//! protoc binary is needed. One file per proto package, named `<last part of the package>.rs`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;
use prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args_os().skip(1).map(PathBuf::from);
    let (Some(set), Some(out)) = (args.next(), args.next()) else {
        return Err("usage: protogen DESCRIPTOR_SET OUT_DIR".into());
    };
    let set = FileDescriptorSet::decode(fs::read(set)?.as_slice())?;
    let mut config = prost_build::Config::new();
    // Ordered maps: the same message is the same bytes.
    config.btree_map(["."]);
    config.out_dir(&out);
    config.compile_fds(set)?;
    for entry in fs::read_dir(&out)? {
        let path = entry?.path();
        let Some(stem) = path.file_stem().and_then(|s| s.to_str()) else {
            continue;
        };
        let short = match stem {
            "transport.l5d.io" => "transport_header",
            // What has no package.
            "_" => "workload",
            _ => stem.rsplit('.').next().unwrap_or(stem),
        };
        fs::rename(&path, out.join(format!("{short}.rs")))?;
    }
    Ok(())
}
