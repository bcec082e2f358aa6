//! The values that librdkafka gets where nobody sets another, by what a connection is for, for a real Kafka and for the
//! embedded broker.

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reading.
    Consumer,
    /// Writing.
    Producer,
    /// Asking about brokers and topics.
    Admin,
}

/// Where librdkafka's own defaults are not for us.
pub(crate) fn defaults(role: Role, embedded: bool) -> &'static [(&'static str, &'static str)] {
    match (role, embedded) {
        (Role::Admin, _) => &[("client.id", "mlaas"), ("log.connection.close", "false")],
        (Role::Consumer, false) => &[
            ("client.id", "mlaas"),
            ("log.connection.close", "false"),
            ("reconnect.backoff.max.ms", "2000"),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            // Half a second of waiting costs no latency: Kafka answers a fetch as soon as one byte is there.
            ("fetch.wait.max.ms", "500"),
            ("fetch.queue.backoff.ms", "5"),
            // Images, not log lines: at librdkafka's defaults it would hold 64 MiB of them ready. That limit is on the values
            // alone, so that keys and headers are bounded by the number of records.
            ("queued.min.messages", "16"),
            ("queued.max.messages.kbytes", "16384"),
        ],
        (Role::Consumer, true) => &[
            ("client.id", "mlaas"),
            ("log.connection.close", "false"),
            ("reconnect.backoff.max.ms", "500"),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("partition.assignment.strategy", "range"),
            // The embedded broker does not wake a waiting fetch when a record arrives: this is the latency.
            ("fetch.wait.max.ms", "5"),
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.error.backoff.ms", "50"),
            ("queued.min.messages", "16"),
            ("queued.max.messages.kbytes", "16384"),
        ],
        (Role::Producer, false) => &[
            ("client.id", "mlaas"),
            ("log.connection.close", "false"),
            ("reconnect.backoff.max.ms", "2000"),
            ("acks", "all"),
            // The same key goes to the same partition as from a Java producer.
            ("partitioner", "murmur2_random"),
            ("enable.idempotence", "true"),
            ("linger.ms", "1"),
            ("queue.buffering.max.kbytes", "65536"),
        ],
        // A fetch from the embedded broker brings one batch a partition, so that a short linger gains throughput; it
        // forgets whole batches, so they are small; it keeps no record of a producer's sequence numbers, so that
        // idempotence would gain nothing.
        (Role::Producer, true) => &[
            ("client.id", "mlaas"),
            ("log.connection.close", "false"),
            ("reconnect.backoff.max.ms", "500"),
            ("acks", "all"),
            ("partitioner", "murmur2_random"),
            ("max.in.flight.requests.per.connection", "5"),
            ("retry.backoff.ms", "50"),
            ("linger.ms", "2"),
            ("batch.size", "262144"),
            ("queue.buffering.max.kbytes", "65536"),
        ],
    }
}
