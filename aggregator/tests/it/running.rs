//! What the log and the registry may do to a running aggregator.
//!
//! Partitions go and come back while it is busy with them, as Kafka's groups do it: from the moment of a rebalance the
//! consumer answers "not held", and the notice of it comes later.

use crate::pipeline::Pipeline;
use axum::http::Method;
use axum::{Json, Router};
use event_log::local::LocalLog;
use event_log::{
    Acknowledgement, AppendError, Assignment, Bounds, Committer, Delivery, GroupConsumer, Log, LogError, LogRecord, ReadFrom, Reader,
    Record, TopicSpec,
};
use futures::future::BoxFuture;
use schemas::codec::WireForm;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A local log whose groups rebalance when it hurts most.
#[derive(Debug)]
struct UnsteadyLog(Arc<LocalLog>);

/// Says "not held" to the first two begins, then tells that the partition was lost and came back.
#[derive(Debug)]
struct UnsteadyConsumer {
    inner: Box<dyn GroupConsumer>,
    told: VecDeque<Delivery>,
    rebalances_left: u32,
}

impl GroupConsumer for UnsteadyConsumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, LogError>> {
        match self.told.pop_front() {
            Some(delivery) => Box::pin(std::future::ready(Ok(delivery))),
            None => self.inner.next(),
        }
    }

    fn begin(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        if self.rebalances_left > 0 {
            self.rebalances_left -= 1;
            self.told.push_back(Delivery::Lost(vec![partition]));
            self.told.push_back(Delivery::Assigned(vec![Assignment { partition, committed: None }]));
            return Err(LogError::NotHeld(partition));
        }
        self.inner.begin(partition, offset)
    }

    fn pause(&mut self, partition: u32) -> Result<(), LogError> {
        self.inner.pause(partition)
    }

    fn resume(&mut self, partition: u32) -> Result<(), LogError> {
        self.inner.resume(partition)
    }

    fn committer(&self) -> Arc<dyn Committer> {
        self.inner.committer()
    }

    fn leave(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.inner.leave()
    }
}

impl Log for UnsteadyLog {
    fn id(&self) -> BoxFuture<'_, Result<String, LogError>> {
        self.0.id()
    }

    fn create_topic<'a>(&'a self, spec: &'a TopicSpec) -> BoxFuture<'a, Result<(), LogError>> {
        self.0.create_topic(spec)
    }

    fn partitions<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<u32, LogError>> {
        self.0.partitions(topic)
    }

    fn append(&self, topic: &str, record: Record) -> Result<Acknowledgement, AppendError> {
        self.0.append(topic, record)
    }

    fn bounds<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<Bounds, LogError>> {
        self.0.bounds(topic, partition)
    }

    fn committed<'a>(&'a self, group: &'a str, topic: &'a str) -> BoxFuture<'a, Result<Vec<Option<u64>>, LogError>> {
        self.0.committed(group, topic)
    }

    fn record_at<'a>(&'a self, topic: &'a str, partition: u32, offset: u64) -> BoxFuture<'a, Result<Option<LogRecord>, LogError>> {
        self.0.record_at(topic, partition, offset)
    }

    fn join(self: Arc<Self>, group: &str, topic: &str) -> Result<Box<dyn GroupConsumer>, LogError> {
        let inner = (Arc::clone(&self.0) as Arc<dyn Log>).join(group, topic)?;
        Ok(Box::new(UnsteadyConsumer { inner, told: VecDeque::new(), rebalances_left: 2 }))
    }

    fn read<'a>(self: Arc<Self>, topic: &'a str, from: ReadFrom) -> BoxFuture<'a, Result<Box<dyn Reader>, LogError>> {
        (Arc::clone(&self.0) as Arc<dyn Log>).read(topic, from)
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LogError>> {
        self.0.check()
    }
}

#[tokio::test]
async fn a_rebalance_while_partitions_begin_is_lived_through() {
    let pipeline = Pipeline::new().await;
    for id in 0..5 {
        pipeline.post(id, WireForm::SingleObject).await;
    }
    pipeline.run_until(Arc::new(UnsteadyLog(Arc::clone(&pipeline.local))), 5).await;
    assert_eq!(pipeline.calls().await, 5);
}

#[tokio::test]
async fn what_counting_costs_is_noted_and_goes_on_after_a_restart() {
    let pipeline = Pipeline::new().await;
    let checkpoints = pipeline.checkpoints();
    let mut noted = Vec::new();
    for round in 1..=2 {
        for id in 0..5 {
            pipeline.post(round * 10 + id, WireForm::SingleObject).await;
        }
        pipeline.run_until(Arc::clone(&pipeline.local) as Arc<dyn Log>, u64::from(round) * 5).await;
        let checkpoint = checkpoints.read(0).await.unwrap().unwrap();
        // Whoever stops in order has noted everything.
        assert_eq!((checkpoint.offset, checkpoint.spent.records), (u64::from(round) * 5 - 1, u64::from(round) * 5));
        noted.push(checkpoint.spent);
    }
    // Each event is an item of its own, and with the first come items of the agent's and the fleet's day and hour.
    assert!(noted[0].write_units >= noted[0].records + 4, "{noted:?}");
    assert!(noted[1].write_units > noted[0].write_units && noted[1].records > noted[0].records, "{noted:?}");
    assert!(noted[0].since_ms > 0 && noted[1].since_ms == noted[0].since_ms, "{noted:?}");
}

#[tokio::test]
async fn the_checkpoint_catches_up_when_records_cease_to_come() {
    let pipeline = Pipeline::new().await;
    let checkpoints = pipeline.checkpoints();
    let at = async |offset: u64| {
        while checkpoints.read(0).await.unwrap().is_none_or(|checkpoint| checkpoint.offset != offset) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let caught_up = async {
        pipeline.post(0, WireForm::SingleObject).await;
        at(0).await;
        // Committed long before the next checkpoint is due, and followed by nothing.
        pipeline.post(1, WireForm::SingleObject).await;
        at(1).await;
    };
    pipeline.run_through(Arc::clone(&pipeline.local) as Arc<dyn Log>, caught_up).await;
    assert_eq!(checkpoints.read(0).await.unwrap().unwrap().spent.records, 2);
}

/// A schema registry that takes schemas and never tells one.
async fn silent_registry() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = |method: Method| async move {
        if method != Method::POST {
            std::future::pending::<()>().await;
        }
        Json(serde_json::json!({"id": 7}))
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    url
}

#[tokio::test]
async fn what_came_before_a_record_that_waits_for_its_schema_is_counted() {
    let mut pipeline = Pipeline::new().await;
    pipeline.config.registry.schema_registry_url = Some(silent_registry().await);
    pipeline.post(0, WireForm::SingleObject).await;
    pipeline.post(1, WireForm::Confluent(74_001)).await;
    pipeline.post(2, WireForm::SingleObject).await;
    pipeline.run_until(Arc::clone(&pipeline.local) as Arc<dyn Log>, 1).await;
    assert_eq!(pipeline.calls().await, 1);
}
