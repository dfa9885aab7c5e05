//! What happens when partitions come and go. librdkafka calls this from within a poll, so on the polling thread; the
//! handover lasts until it returns.

use super::{Assigned, Shared};
use crate::kafka::report::{self, Report};
use crate::{Delivery, Revocation};
use metrics::counter;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Called by librdkafka on the polling thread.
pub(super) struct Callbacks(pub(super) Arc<Shared>);

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        report::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Report.error(error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ConsumerContext for Callbacks {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, affected: &mut TopicPartitionList) {
        let partitions = affected.elements_for_topic(&self.0.topic).iter().filter_map(|e| u32::try_from(e.partition()).ok()).collect();
        let outcome = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            // The protocol is eager: all partitions go, those that come back are assigned anew.
            _ => self.revoke(consumer),
        };
        if let Err(error) = outcome {
            tracing::error!(%error, topic = self.0.topic, "rebalance");
        }
    }
}

impl Callbacks {
    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: Vec<u32>) -> Result<(), KafkaError> {
        counter!("log_consumer_rebalances_total", "kind" => "assigned").increment(1);
        // Where to start is the user's to say. Until then the place does not matter, since nothing is fetched.
        let list = self.0.list(partitions.iter().copied(), Offset::End)?;
        consumer.assign(&list)?;
        consumer.pause(&list)?;
        let mut state = self.0.partitions();
        state.round += 1;
        state.assigned = partitions.iter().map(|partition| (*partition, Assigned::default())).collect();
        state.unannounced = partitions;
        Ok(())
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>) -> Result<(), KafkaError> {
        let held: Vec<u32> = {
            let mut state = self.0.partitions();
            state.round += 1;
            state.assigned.clear();
            state.unannounced.clear();
            self.0.held.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
        };
        self.0.mailbox.take_back_records();
        let is_lost = !held.is_empty() && !self.hand_over(consumer, &held);
        self.0.let_go();
        if is_lost {
            counter!("log_consumer_rebalances_total", "kind" => "lost").increment(1);
            self.0.mailbox.take_back_revocation();
            self.0.push(Ok(Delivery::Lost(held)));
        } else {
            counter!("log_consumer_rebalances_total", "kind" => "revoked").increment(1);
        }
        consumer.unassign()
    }

    /// Waits for the user to finish with the partitions. False where they are gone before.
    fn hand_over(&self, consumer: &BaseConsumer<Self>, held: &[u32]) -> bool {
        if consumer.assignment_lost() {
            return false;
        }
        if self.0.is_leaving() {
            return true;
        }
        let (done, is_done) = mpsc::sync_channel(1);
        self.0.push(Ok(Delivery::Revoked(Revocation::new(held.to_vec(), done))));
        let deadline = Instant::now() + self.0.config.revoke_wait();
        loop {
            match is_done.recv_timeout(Duration::from_millis(50)) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.0.is_leaving() {
                return true;
            }
            if consumer.assignment_lost() {
                return false;
            }
            if Instant::now() >= deadline {
                tracing::warn!(topic = self.0.topic, "partitions were not let go in time: they are taken");
                return false;
            }
        }
    }
}
