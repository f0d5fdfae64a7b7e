use std::collections::BTreeMap;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;

use super::*;

/// A server of numbered commands, which answers each what `script` has for it, one after the other, and
/// then `HD`. It closes the connection where that is empty. Gives how often each was asked for.
async fn serve(
    script: BTreeMap<usize, Vec<&'static str>>,
    commands: Vec<Command>,
) -> (Result<(), String>, BTreeMap<usize, usize>, u64) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = Arc::new(parking_lot::Mutex::new((script, BTreeMap::new())));
    let shared = Arc::clone(&served);
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                    let number = line.trim().parse().unwrap();
                    line.clear();
                    let answer = {
                        let (script, asked) = &mut *shared.lock();
                        *asked.entry(number).or_default() += 1;
                        let left = script.get_mut(&number).filter(|left| !left.is_empty());
                        left.map_or("HD", |left| left.remove(0))
                    };
                    if answer.is_empty() {
                        return;
                    }
                    stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
                }
            });
        }
    });
    // The other is not there.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let progress = Progress::new("sent", None);
    let mut sender = Sender::new(vec![nobody, address], progress.clone());
    let sent = async {
        for command in commands {
            sender.send(command).await?;
        }
        sender.finish().await
    };
    let sent = sent.await.map_err(|failure| failure.to_string());
    serving.abort();
    let asked = served.lock().1.clone();
    (sent, asked, progress.items())
}

fn commands(count: usize) -> Vec<Command> {
    let command = |number| Command {
        text: format!("{number}\r\n").into_bytes(),
        answers: 1,
        origin: format!("item {number}"),
    };
    (0..count).map(command).collect()
}

#[tokio::test]
async fn what_is_not_done_for_now_is_sent_again_and_nothing_else_is_lost() {
    let script = BTreeMap::from([
        (3, vec!["SERVER_ERROR not written: no node of the group leads, try again", "HD"]),
        (BATCH + 5, vec!["", "SERVER_ERROR outcome unknown"]),
    ]);
    let (sent, asked, items) = serve(script, commands(2 * BATCH + 7)).await;
    sent.unwrap();
    assert_eq!((asked.len(), items), (2 * BATCH + 7, 2 * BATCH as u64 + 7));
    assert_eq!((asked[&2], asked[&3], asked[&(BATCH + 5)]), (1, 2, 3));
}

#[tokio::test]
async fn what_is_refused_is_named() {
    for (answer, wanted) in [
        ("CLIENT_ERROR bad data chunk", ": CLIENT_ERROR bad data chunk"),
        ("SERVER_ERROR object too large for cache", "take more with -I"),
        ("ERROR", ": ERROR"),
    ] {
        let (sent, ..) = serve(BTreeMap::from([(4, vec![answer])]), commands(9)).await;
        let why = sent.unwrap_err();
        assert!(why.starts_with("item 4: 127.0.0.1:") && why.contains(wanted), "{why}");
    }
}

/// An item that is marked is done when both are.
#[tokio::test]
async fn a_command_of_two_is_done_when_both_are() {
    let mut commands = commands(3);
    commands[1].text = b"1\r\n7\r\n".to_vec();
    commands[1].answers = 2;
    let script = BTreeMap::from([(7, vec!["SERVER_ERROR not yet", "NF"])]);
    let (sent, asked, items) = serve(script, commands).await;
    sent.unwrap();
    assert_eq!(asked, [(0, 1), (1, 2), (2, 1), (7, 2)].into());
    assert_eq!(items, 3);
}
