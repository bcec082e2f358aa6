//! Lets this package's programs, and those of the packages that depend on it, find libtorch at run time without
//! `LD_LIBRARY_PATH`: beside the executable (`../lib`), else where it was built against.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else {
        println!("cargo:warning=torch-sys named no libtorch folder: programs will need LD_LIBRARY_PATH");
        return;
    };
    // Dependents read this as DEP_MLAAS_MODEL_LIBTORCH_LIB.
    println!("cargo:libtorch_lib={lib}");
    println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib:{lib}");
}
