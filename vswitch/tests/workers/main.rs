//! Real worker threads over queues in memory: who gets how much, who is woken, and that nothing is lost between workers.

mod detect;
mod fairness;
mod receivers;
mod several;
mod switch;
mod wake_up;
