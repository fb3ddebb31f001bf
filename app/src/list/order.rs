//! Which rows a list shows, and in which order.

use super::ListSpec;

/// The text of each row that the search finds, in lower case.
pub fn texts<T>(rows: &[T], spec: &ListSpec<T>) -> Vec<String> {
    rows.iter().map(|row| (spec.text)(row).to_lowercase()).collect()
}

/// The positions of the rows that match, in their order. `texts` is empty without a search. `sort` is the name of a column, after `-`
/// in descending order. Rows that are equal keep the order of the server.
pub fn order<T>(
    rows: &[T],
    texts: &[String],
    spec: &ListSpec<T>,
    search: &str,
    sort: &str,
    filters: &[String],
) -> Vec<u32> {
    let search = search.to_lowercase();
    let words: Vec<_> = search.split_whitespace().collect();
    let has_words =
        |position: usize| texts.get(position).is_none_or(|text| words.iter().all(|word| text.contains(word)));
    let has_values = |row: &T| {
        spec.filters.iter().zip(filters).all(|(filter, value)| value.is_empty() || (filter.matches)(row, value))
    };
    let matching = rows.iter().enumerate().filter(|(position, row)| has_words(*position) && has_values(row));
    let mut order: Vec<u32> = matching.filter_map(|(position, _)| u32::try_from(position).ok()).collect();
    let name = sort.trim_start_matches('-');
    if let Some(compare) = spec.columns.iter().find(|column| column.name == name).and_then(|column| column.compare) {
        let row = |position: &u32| rows.get(*position as usize);
        order.sort_by(|one, other| {
            let (one, other) = if sort.starts_with('-') { (other, one) } else { (one, other) };
            row(one).zip(row(other)).map_or(std::cmp::Ordering::Equal, |(one, other)| compare(one, other))
        });
    }
    order
}
