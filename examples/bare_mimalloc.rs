//! `bare` with Aqueduct's allocator.

#[path = "bare.rs"]
mod bare;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    bare::main()
}
