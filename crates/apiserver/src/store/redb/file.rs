//! A file of redb that is opened again after a write to it has failed.
//!
//! redb does nothing more once its file has failed. Where only something was lacking, and no sync has failed, what was not
//! committed is not there: the last root that was synced still counts, and the file may be opened again.

use std::sync::Arc;

use redb::Database;

use super::disk::Faults;
use super::transaction;
use crate::store::{Batch, Error};

/// Opens a file whose faults are noted there.
type Open = dyn Fn(&Arc<Faults>) -> Result<Database, Error> + Send;

/// A file, open or to be opened.
pub(super) struct File {
    open: Box<Open>,
    faults: Arc<Faults>,
    /// `None` after a write has failed.
    db: Option<Database>,
}

impl File {
    pub(super) fn open(
        open: impl Fn(&Arc<Faults>) -> Result<Database, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let mut file = Self {
            open: Box::new(open),
            faults: Arc::default(),
            db: None,
        };
        file.db().map(drop)?;
        Ok(file)
    }

    /// The database.
    ///
    /// # Errors
    /// When it has to be opened and cannot be.
    pub(super) fn db(&mut self) -> Result<&Database, Error> {
        if self.db.is_none() {
            self.db = Some((self.open)(&self.faults)?);
        }
        Ok(self.db.as_ref().expect("it was just opened"))
    }

    /// Makes all batches durable, and says how many they are.
    pub(super) fn commit(&mut self, batches: &[Batch]) -> Result<usize, Error> {
        let db = self.db()?;
        let committed = transaction::commit(db, batches);
        // What redb did without after all is told by a commit that was good.
        let lack = self.faults.take();
        let Err(error) = committed else {
            return Ok(batches.len());
        };
        match lack.filter(|_| !error.is_superseded()) {
            Some(lack) => {
                self.db = None;
                Err(Error::lacking(lack, error))
            }
            None => Err(error),
        }
    }
}
