//! Batches as one transaction of the file.

use redb::{Database, Durability, ReadableTable, WriteTransaction};

use super::{CHANGES, META, META_FORGOTTEN, META_REVISION, OBJECTS};
use crate::store::{Batch, Error};

/// Writes all batches in one transaction; when it returns, they have been synced.
pub(super) fn commit(db: &Database, batches: &[Batch]) -> Result<(), Error> {
    let mut transaction = db.begin_write().map_err(Error::new)?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(Error::new)?;
    transaction.set_two_phase_commit(true);
    for batch in batches {
        write(&transaction, batch)?;
    }
    transaction.commit().map_err(Error::new)
}

/// Writes one batch, if it follows what is there.
fn write(transaction: &WriteTransaction, batch: &Batch) -> Result<(), Error> {
    let found = exchange(transaction, META_REVISION, batch.revision).map_err(Error::new)?;
    if found != batch.after {
        return Err(Error::superseded(batch.after, found));
    }
    replace(transaction, batch).map_err(Error::new)
}

/// Sets a number about the file, and answers what it was.
fn exchange(transaction: &WriteTransaction, name: &str, number: u64) -> Result<u64, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let before = meta.insert(name, number)?;
    Ok(before.map_or(0, |before| before.value()))
}

/// Writes what a batch says, and what that replaces; forgets what may be forgotten.
fn replace(transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let mut objects = transaction.open_table(OBJECTS)?;
    let mut changes = transaction.open_table(CHANGES)?;
    for write in &batch.writes {
        let key = write.key.as_str();
        let before = match &write.value {
            Some(value) => objects.insert(key, value.as_ref())?,
            None => objects.remove(key)?,
        };
        let before = before.as_ref().map(redb::AccessGuard::value);
        changes.insert(write.revision, (key, before))?;
    }
    let oldest = changes.first()?.map(|(oldest, _)| oldest.value());
    if oldest.is_some_and(|oldest| oldest <= batch.forget) {
        changes.retain_in(..=batch.forget, |_, _| false)?;
        exchange(transaction, META_FORGOTTEN, batch.forget)?;
    }
    Ok(())
}
