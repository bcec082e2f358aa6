//! The run path to libtorch, as `model` found it: see model/build.rs.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(lib) = std::env::var("DEP_MLAAS_MODEL_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib:{lib}");
    }
}
