//! Keeps values of a type of one's own. Start a cluster with `larder up` first.

use std::convert::Infallible;
use std::time::Duration;

use larder_client::Client;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct User {
    name: String,
    /// Values that were stored before there was this have none.
    #[serde(default)]
    languages: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder().discover("127.0.0.1:11211").build()?;
    let ada = User { name: "Ada".to_owned(), languages: vec!["Analytical Engine".to_owned()] };
    client.set_as("user:1", &ada, HOUR).await?;
    println!("{:?}", client.get_as::<User>("user:1").await?);
    let grace: User = client.get_or_fill_as("user:2", HOUR, || from_database(2)).await?;
    println!("{grace:?}");
    Ok(())
}

async fn from_database(_: u32) -> Result<User, Infallible> {
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(User { name: "Grace".to_owned(), languages: vec!["COBOL".to_owned()] })
}

const HOUR: Duration = Duration::from_hours(1);
