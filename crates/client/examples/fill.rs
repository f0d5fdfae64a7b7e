//! A thousand callers want a page that takes a second to make: it is made once. Start a cluster with
//! `larder up` first.

use std::convert::Infallible;
use std::time::Duration;

use larder_client::Client;
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder().discover("127.0.0.1:11211").build()?;
    println!("the nodes: {}", client.nodes().await?.join(", "));

    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let client = client.clone();
        callers.spawn(async move { client.get_or_fill("page", MINUTE, render).await });
    }
    while let Some(page) = callers.join_next().await {
        assert_eq!(page??, "<p>a page</p>");
    }

    // From now on one caller makes it anew, while the others have the old one.
    client.invalidate("page", MINUTE).await?;
    Ok(())
}

async fn render() -> Result<String, Infallible> {
    println!("this is seen once");
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok("<p>a page</p>".to_owned())
}

const MINUTE: Duration = Duration::from_mins(1);
