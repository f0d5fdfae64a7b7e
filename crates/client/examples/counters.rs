//! Counts views with one write a second, and likes in several parts, in a store. Start one with
//! `larder up` first.

use std::time::Duration;

use larder_client::{Client, Counters, Expiry, ShardedCounter};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Client::builder()
        .node("127.0.0.1:21201")
        .node("127.0.0.1:21202")
        .node("127.0.0.1:21203")
        .durable()
        .hedge_reads(Duration::from_millis(5))
        .build()?;

    let views = Counters::new(store.clone(), Duration::from_secs(1), Expiry::Never);
    for view in 0..1000 {
        views.add(format!("views:page:{}", view % 10), 1)?;
    }
    // Else it would be written within a second.
    views.flush().await?;
    if let Some(item) = store.get("views:page:7").await? {
        println!("page 7 was seen {} times", item.value.escape_ascii());
    }

    let likes = ShardedCounter::new(store, "likes:post:7", 8, Expiry::Never);
    for _ in 0..100 {
        likes.add(1).await?;
    }
    println!("post 7 is liked {} times", likes.get().await?.unwrap_or(0));
    Ok(())
}
