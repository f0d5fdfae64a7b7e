//! Asks for many keys at once, and does without those whose node is down. Start a cluster with
//! `larder up` first, or only a part of it.

use std::time::Duration;

use larder_client::Client;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder()
        .node("127.0.0.1:11211")
        .node("127.0.0.1:11212")
        .node("127.0.0.1:11213")
        .timeout(Duration::from_millis(200))
        .build()?;

    let users: Vec<(String, String)> =
        (0..10).map(|id| (format!("user:{id}"), format!("name of {id}"))).collect();
    let entries: Vec<(&String, &String)> = users.iter().map(|(key, name)| (key, name)).collect();
    for ((key, _), stored) in entries.iter().zip(client.set_many(&entries, HOUR).await) {
        if let Err(error) = stored {
            eprintln!("{key} is not stored: {error}");
        }
    }

    let keys: Vec<&String> = users.iter().map(|(key, _)| key).collect();
    for (key, item) in keys.iter().zip(client.get_many(&keys).await) {
        match item {
            Ok(Some(item)) => println!("{key}: {}", item.value.escape_ascii()),
            Ok(None) => println!("{key}: not there"),
            Err(error) => println!("{key}: {error}"),
        }
    }
    Ok(())
}

const HOUR: Duration = Duration::from_hours(1);
