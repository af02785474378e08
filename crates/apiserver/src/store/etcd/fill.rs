//! Filling a place with all that there is to be in it.

use std::mem;

use super::gateway::Failed;
use super::place::{FORMAT, Head, Place, delete_all, put, writer_name};
use super::{BYTES_MAX, WRITES_MAX};
use crate::store::Loaded;

impl Place {
    /// Writes all objects, and last the head, without which servers do not start on them.
    pub(super) async fn fill(&self, content: &Loaded) -> Result<(), Failed> {
        let (head, at, _) = self.read_head().await?;
        if head.revision > 0 {
            return Err(Failed::Odd("there are objects already".to_owned()));
        }
        // What one that broke off has left.
        let rest = [self.objects(), self.changes()].map(|(first, end)| delete_all(&first, &end));
        self.gateway.transaction(&[], &rest).await?;
        let (mut some, mut bytes) = (Vec::new(), 0);
        for (key, value) in &content.entries {
            if value.len() > BYTES_MAX {
                let why =
                    format!("{key} has more than {BYTES_MAX} bytes, which etcd does not take");
                return Err(Failed::Odd(why));
            }
            if some.len() == WRITES_MAX || bytes + value.len() > BYTES_MAX {
                self.gateway.transaction(&[], &mem::take(&mut some)).await?;
                bytes = 0;
            }
            bytes += value.len();
            some.push(put(&self.object(key), value));
        }
        let head = Head {
            format: FORMAT,
            revision: content.revision,
            forgotten: content.revision,
            writer: writer_name()?,
        };
        some.push(self.put_head(&head));
        let unchanged = self.is_unchanged(at);
        match self
            .gateway
            .transaction(&[&unchanged], &some)
            .await?
            .succeeded
        {
            true => Ok(()),
            false => Err(Failed::Odd("somebody else writes there".to_owned())),
        }
    }
}
