//! The full-text index of deliveries: FTS5 on SQLite, a `tsvector` with a GIN index on PostgreSQL.
//!
//! Hand-written, because SeaORM has neither. Both databases get the words that `domain::search::words` has split, so that
//! they find the same deliveries. Plans: on SQLite, FTS5 returns the matches in descending order and the rows of
//! `delivery_index` are looked up one by one; on PostgreSQL a bitmap scan of the GIN index, or a backward scan of
//! `delivery_index` for frequent words. The decision is docs/adr/0017.

use super::connect::Database;
use super::entity::{delivery_index, delivery_index_state};
use super::link::DatabaseTransaction;
use domain::search::{Criterion, Search, Term};
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Query, SelectStatement};
use sea_orm::{ConnectionTrait as _, DbErr, EntityTrait as _, QueryFilter as _};
use std::fmt::Write as _;

/// Name of the table.
const TABLE: &str = "delivery_words";
/// Maximum position of a word in a `tsvector`.
const MAX_POSITION: usize = 16_383;

/// The words of one delivery, by its position in the log.
pub(crate) struct DeliveryWords {
    pub(crate) seq: i64,
    pub(crate) words: Vec<String>,
}

/// Replaces the words of deliveries.
pub(crate) async fn replace(db: &Database, tx: &DatabaseTransaction, rows: &[DeliveryWords]) -> Result<(), DbErr> {
    delete(db, tx, rows.iter().map(|row| row.seq)).await?;
    for row in rows {
        let (sql, text) = if db.is_postgres() {
            let mut vector = String::new();
            for (n, word) in row.words.iter().enumerate() {
                // Words have letters and digits only, so that quotes need no escape. Writing to a `String` cannot fail.
                let _ = write!(vector, "'{word}':{} ", (n + 1).min(MAX_POSITION));
            }
            ("INSERT INTO delivery_words (seq, words) VALUES ($1, CAST($2 AS tsvector))", vector)
        } else {
            ("INSERT INTO delivery_words (rowid, words) VALUES ($1, $2)", row.words.join(" "))
        };
        tx.execute_raw(db.statement(sql, [row.seq.into(), text.into()])).await?;
    }
    Ok(())
}

/// Deletes the words of deliveries.
pub(crate) async fn delete(
    db: &Database,
    tx: &DatabaseTransaction,
    seqs: impl Iterator<Item = i64>,
) -> Result<(), DbErr> {
    let sql = if db.is_postgres() {
        "DELETE FROM delivery_words WHERE seq = $1"
    } else {
        "DELETE FROM delivery_words WHERE rowid = $1"
    };
    for seq in seqs {
        tx.execute_raw(db.statement(sql, [seq.into()])).await?;
    }
    Ok(())
}

/// Deletes the words of deliveries whose texts have changed. The worker of the index writes them again.
pub(crate) async fn invalidate(db: &Database, tx: &DatabaseTransaction, seqs: &[i64]) -> Result<(), DbErr> {
    delete(db, tx, seqs.iter().copied()).await?;
    delivery_index::Entity::update_many()
        .col_expr(delivery_index::Column::NeedsText, Expr::value(true))
        .filter(delivery_index::COLUMN.seq.is_in(seqs.iter().copied()))
        .exec(tx)
        .await?;
    reject_batch(tx).await
}

/// Deletes deliveries from the index.
pub(crate) async fn remove(db: &Database, tx: &DatabaseTransaction, seqs: &[i64]) -> Result<(), DbErr> {
    delete(db, tx, seqs.iter().copied()).await?;
    let rows = delivery_index::Entity::delete_many();
    rows.filter(delivery_index::COLUMN.seq.is_in(seqs.iter().copied())).exec(tx).await?;
    reject_batch(tx).await
}

/// Lets the worker of the index read its present batch again, because it may contain rows of before.
async fn reject_batch(tx: &DatabaseTransaction) -> Result<(), DbErr> {
    let next = Expr::col(delivery_index_state::Column::Revision).add(1);
    let state = delivery_index_state::Entity::update_many().col_expr(delivery_index_state::Column::Revision, next);
    state.exec(tx).await?;
    Ok(())
}

/// The condition of the index on slow deliveries. A literal, because SQLite compares it with the index while it plans.
pub(crate) fn is_slow() -> Expr {
    Expr::cust("delivery_index.duration_ms >= 1000")
}

/// The condition of the index on deliveries with several attempts, a literal as in [`is_slow`].
pub(crate) fn is_retried() -> Expr {
    Expr::cust("delivery_index.attempts > 1")
}

/// The texts of a term; empty for another term.
fn phrases(term: &Term) -> Vec<&[String]> {
    let texts = term.any.iter().filter_map(|criterion| match criterion {
        Criterion::Text(words) => Some(words.as_slice()),
        _ => None,
    });
    texts.collect()
}

/// One of these phrases, in the query language of the database. The last word of a phrase can continue.
fn any_phrase(phrases: &[&[String]], postgres: bool) -> String {
    let phrase = |words: &&[String]| {
        if postgres {
            let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            format!("({}:*)", quoted.join(" <-> "))
        } else {
            format!("(\"{}\" *)", words.join(" "))
        }
    };
    format!("({})", phrases.iter().map(phrase).collect::<Vec<_>>().join(if postgres { " | " } else { " OR " }))
}

/// The conditions of the texts of a search.
pub(crate) struct TextQuery {
    postgres: bool,
    /// What the words must match; empty without a term that is not negated.
    matching: String,
    /// What the words must not match; empty if `matching` contains it.
    excluded: String,
}

impl TextQuery {
    /// The texts of a search.
    pub(crate) fn new(search: &Search, postgres: bool) -> Self {
        let of = |negated: bool| -> Vec<String> {
            let terms = search.terms.iter().filter(|term| term.negated == negated);
            terms.map(phrases).filter(|list| !list.is_empty()).map(|list| any_phrase(&list, postgres)).collect()
        };
        let excluded = of(true).join(if postgres { " | " } else { " OR " });
        let matching = of(false).join(if postgres { " & " } else { " AND " });
        if matching.is_empty() || excluded.is_empty() {
            return Self { postgres, matching, excluded };
        }
        let matching =
            if postgres { format!("{matching} & !({excluded})") } else { format!("({matching}) NOT ({excluded})") };
        Self { postgres, matching, excluded: String::new() }
    }

    /// The positions whose words match.
    fn seqs(&self, query: &str) -> SelectStatement {
        let (column, condition) = if self.postgres {
            ("seq", Expr::cust_with_values("words @@ CAST($1 AS tsquery)", [query]))
        } else {
            ("rowid", Expr::cust_with_values("delivery_words MATCH ?", [query]))
        };
        Query::select().column(Alias::new(column)).from(Alias::new(TABLE)).and_where(condition).take()
    }

    /// Adds the conditions to a query of `delivery_index`.
    pub(crate) fn apply(&self, select: &mut SelectStatement) {
        let seq = || Expr::col((delivery_index::Entity, delivery_index::Column::Seq));
        if !self.excluded.is_empty() {
            select.and_where(seq().not_in_subquery(self.seqs(&self.excluded)));
        }
        if self.matching.is_empty() {
            return;
        }
        if self.postgres {
            select.and_where(seq().in_subquery(self.seqs(&self.matching)));
        } else {
            // A join, because SQLite would collect all matches of a subquery first.
            let row = Expr::col((Alias::new(TABLE), Alias::new("rowid")));
            select
                .inner_join(Alias::new(TABLE), row.eq(seq()))
                .and_where(Expr::cust_with_values("delivery_words MATCH ?", [self.matching.as_str()]));
        }
    }

    /// The column by which a query with these conditions is sorted, so that the database reads the matches in this order.
    pub(crate) fn order(&self) -> Expr {
        if self.postgres || self.matching.is_empty() {
            Expr::col((delivery_index::Entity, delivery_index::Column::Seq))
        } else {
            Expr::col((Alias::new(TABLE), Alias::new("rowid")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_written_for_each_database() {
        let search = Search::parse("alpha \"no free node\" -beta -text:x,y status:failed").unwrap();
        let sqlite = TextQuery::new(&search, false);
        assert_eq!(
            sqlite.matching,
            r#"((("alpha" *)) AND (("no free node" *))) NOT ((("beta" *)) OR (("x" *) OR ("y" *)))"#
        );
        let postgres = TextQuery::new(&search, true);
        assert_eq!(
            postgres.matching,
            "(('alpha':*)) & (('no' <-> 'free' <-> 'node':*)) & !((('beta':*)) | (('x':*) | ('y':*)))"
        );
        let negative = TextQuery::new(&Search::parse("-beta").unwrap(), false);
        assert_eq!((negative.matching.as_str(), negative.excluded.as_str()), ("", r#"(("beta" *))"#));
    }
}
