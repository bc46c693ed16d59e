/* The fold of account.Account by hand, unchecked: what one core can do with these batches. See c_fold.py. */
#include <stdint.h>
#include <string.h>

typedef struct {
    int64_t balance, deposits, withdrawals, largest, last_at, open;
} state;

enum { OPENED, DEPOSITED, WITHDRAWN, CHARGED, KINDS };

/* rows: the state of each aggregate code, or NULL where a code is its state. amounts: by kind, dense in the order of the
 * events, NULL where a kind has none. kind_of: by type code. */
#define ROW(i) &states[rows ? rows[aggregate[i]] : aggregate[i]]

static inline void apply(state *s, int kind, int64_t amount, int64_t at) {
    switch (kind) {
    case OPENED:
        s->open = 1;
        break;
    case DEPOSITED:
        s->balance += amount;
        s->deposits += 1;
        if (amount > s->largest) s->largest = amount;
        break;
    case WITHDRAWN:
        s->balance -= amount;
        s->withdrawals += 1;
        break;
    default:
        s->balance -= amount;
    }
    s->last_at = at;
}

/* One switch for each event. */
void fold_switch(int64_t n, const int16_t *types, const int32_t *aggregate, const int32_t *rows, const int64_t *at,
                 const int64_t *const *amounts, const int8_t *kind_of, state *states) {
    int64_t cursor[KINDS] = {0};
    for (int64_t i = 0; i < n; i++) {
        int kind = kind_of[types[i]];
        int64_t amount = kind == OPENED ? 0 : amounts[kind][cursor[kind]++];
        apply(ROW(i), kind, amount, at[i]);
    }
}

#define RUN(kind, amount) for (; i < end; i++) apply(ROW(i), kind, amount, at[i])

/* One loop for each run of events of one type. */
void fold_runs(int64_t n, const int16_t *types, const int32_t *aggregate, const int32_t *rows, const int64_t *at,
               const int64_t *const *amounts, const int8_t *kind_of, state *states) {
    int64_t cursor[KINDS] = {0};
    for (int64_t i = 0; i < n;) {
        int64_t end = i + 1;
        while (end < n && types[end] == types[i]) end++;
        int kind = kind_of[types[i]];
        const int64_t *amount = kind == OPENED ? 0 : amounts[kind] + cursor[kind];
        cursor[kind] += end - i;
        switch (kind) {
        case OPENED:
            RUN(OPENED, 0);
            break;
        case DEPOSITED:
            RUN(DEPOSITED, *amount++);
            break;
        case WITHDRAWN:
            RUN(WITHDRAWN, *amount++);
            break;
        default:
            RUN(CHARGED, *amount++);
        }
    }
}

/* The rows of hashes in an open-addressed table of size mask + 1 (slots: row + 1, 0: free); new ones get the next. */
int64_t enter(int64_t n, const uint64_t *hi, const uint64_t *lo, uint32_t *slots, uint64_t mask, uint64_t *known_hi,
              uint64_t *known_lo, int64_t count, int32_t *rows) {
    for (int64_t i = 0; i < n; i++) {
        uint64_t at = lo[i] & mask;
        while (slots[at] && (known_hi[slots[at] - 1] != hi[i] || known_lo[slots[at] - 1] != lo[i])) at = (at + 1) & mask;
        if (!slots[at]) {
            known_hi[count] = hi[i];
            known_lo[count] = lo[i];
            slots[at] = (uint32_t)++count;
        }
        rows[i] = (int32_t)slots[at] - 1;
    }
    return count;
}

/* States as columns, n entries each: what a reader of the rows gets. */
void columns(int64_t n, const state *states, int64_t *const *out) {
    for (int64_t i = 0; i < n; i++) {
        const int64_t *fields = (const int64_t *)&states[i];
        for (int f = 0; f < 6; f++) out[f][i] = fields[f];
    }
}
