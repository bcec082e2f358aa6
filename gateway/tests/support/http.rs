//! HTTP over a plain socket, so that what is sent is what the test says, be it broken.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::limited;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The status and what is wrong, of a problem that is one.
    #[track_caller]
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status, "{json}");
        assert_eq!(json["error"], json["detail"], "{json}");
        (self.status, json["detail"].as_str().unwrap().to_owned())
    }
}

/// One request on a connection of its own.
pub(crate) async fn ask(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    if !body.is_empty() || method == "POST" {
        head += &format!("content-length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let mut connection = Connection::open(address).await;
    connection.send(head.as_bytes()).await;
    connection.send(body).await;
    connection.answer().await
}

/// A connection.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    /// A server that has had enough may close while it is sent more.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        limited("a write", self.stream.write_all(bytes)).await.ok();
    }

    /// More bytes; none at the end.
    async fn more(&mut self) -> usize {
        let mut piece = vec![0; 1 << 16];
        let read = limited("an answer", self.stream.read(&mut piece)).await.unwrap_or(0);
        self.read.extend_from_slice(&piece[..read]);
        read
    }

    /// What stands before that mark, which is taken too; what is there at the end where it never comes.
    pub(crate) async fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.read.windows(mark.len()).position(|window| window == mark) {
                let rest = self.read.split_off(at + mark.len());
                let mut before = std::mem::replace(&mut self.read, rest);
                before.truncate(at);
                return Some(before);
            }
            if self.more().await == 0 {
                return None;
            }
        }
    }

    /// Whether the other side has closed, with nothing said.
    pub(crate) async fn closed(&mut self) -> bool {
        self.more().await == 0
    }

    /// The head of an answer.
    pub(crate) async fn head(&mut self) -> Option<Answer> {
        let head = String::from_utf8(self.until(b"\r\n\r\n").await?).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Some(Answer { status, headers, body: Vec::new() })
    }

    /// A whole answer.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> impl Future<Output = Answer> {
        let caller = std::panic::Location::caller();
        async move {
            let mut answer = self.head().await.unwrap_or_else(|| panic!("no answer, asked at {caller}"));
            if answer.header("transfer-encoding") == Some("chunked") {
                loop {
                    let size = String::from_utf8(self.until(b"\r\n").await.unwrap()).unwrap();
                    let size = usize::from_str_radix(&size, 16).unwrap();
                    let chunk = self.take(size).await;
                    answer.body.extend(chunk);
                    self.until(b"\r\n").await.unwrap();
                    if size == 0 {
                        return answer;
                    }
                }
            }
            let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
            answer.body = self.take(length).await;
            answer
        }
    }

    async fn take(&mut self, bytes: usize) -> Vec<u8> {
        while self.read.len() < bytes {
            assert_ne!(self.more().await, 0, "the answer broke off");
        }
        let rest = self.read.split_off(bytes);
        std::mem::replace(&mut self.read, rest)
    }
}
