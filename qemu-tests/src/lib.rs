//! Real guests on the real switch: the lab that boots them, and the words in which tests speak about them.
