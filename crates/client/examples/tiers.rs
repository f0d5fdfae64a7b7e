//! A store with a cache before it, and copies in this process before both. Start a cluster with
//! `larder up` first.

use std::time::Duration;

use larder_client::{Client, Expiry, Tiers};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache = Client::builder().discover("127.0.0.1:11211").build()?;
    // Any node of a store answers for all keys.
    let store = Client::builder().node("127.0.0.1:21201").build()?;
    let tiers = Tiers::new(cache, store, Duration::from_mins(10))
        .with_copies(64 << 20, Duration::from_secs(1));

    // Done when the store has it on disk.
    tiers.set("user:1", "Ada", Expiry::Never).await?;
    // From the store, then from the copy in this process.
    for _ in 0..2 {
        println!("{:?}", tiers.get("user:1").await?);
    }
    println!("deleted: {}", tiers.delete("user:1").await?);
    Ok(())
}
