//! Stores, fetches and counts. Start a cluster with `larder up` first.

use std::time::Duration;

use larder_client::{Client, Expiry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder()
        .node("127.0.0.1:11211")
        .node("127.0.0.1:11212")
        .node("127.0.0.1:11213")
        .build()?;

    client.set("greeting", "hello", Duration::from_mins(1)).await?;
    match client.get("greeting").await? {
        Some(item) => println!("greeting: {}", item.value.escape_ascii()),
        None => println!("greeting: gone already"),
    }

    // `add` stores only what is not there, so the count starts once.
    client.add("visits", "0", Expiry::Never).await?;
    println!("visits: {:?}", client.incr("visits", 1).await?);
    Ok(())
}
