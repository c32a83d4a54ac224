; What dataplane/verifier/src/scalar does to 64-bit words, in SMT-LIB: known bits (tnum.rs), spans (bounds.rs,
; alu.rs) and what comparisons teach (refine.rs).
;
; The text is written by hand after the Rust. It is tied to it by tests/oracle/tests/smt.rs, which evaluates each
; definition here and the Rust function on the same thousands of operands, boundaries among them; and the theorems
; are about these definitions. So a proof is as good as the agreement of the two on those operands. Products,
; quotients and remainders are not here, since bit-blasting them takes hours; exhaustive/ tries them on small words.
;
; A tnum is two words, value and mask. A span is two words, its ends. Bounds are four: umin, umax, smin, smax.

(define-sort W () (_ BitVec 64))
(define-fun zero () W #x0000000000000000)
(define-fun one () W #x0000000000000001)
(define-fun ones () W #xffffffffffffffff)
(define-fun sign () W #x8000000000000000)
(define-fun umax2 ((a W) (b W)) W (ite (bvuge a b) a b))
(define-fun umin2 ((a W) (b W)) W (ite (bvule a b) a b))

; ---- known bits

(define-fun has ((v W) (m W) (x W)) Bool (= (bvand x (bvnot m)) v))
(define-fun tnum ((v W) (m W)) Bool (= (bvand v m) zero))

(define-fun add_mask ((a W) (am W) (b W) (bm W)) W
  (bvor am (bvor bm (bvxor (bvadd a b) (bvadd (bvadd a b) (bvadd am bm))))))
(define-fun add_value ((a W) (am W) (b W) (bm W)) W (bvand (bvadd a b) (bvnot (add_mask a am b bm))))

(define-fun sub_mask ((a W) (am W) (b W) (bm W)) W
  (bvor am (bvor bm (bvxor (bvadd (bvsub a b) am) (bvsub (bvsub a b) bm)))))
(define-fun sub_value ((a W) (am W) (b W) (bm W)) W (bvand (bvsub a b) (bvnot (sub_mask a am b bm))))

(define-fun and_value ((a W) (am W) (b W) (bm W)) W (bvand a b))
(define-fun and_mask ((a W) (am W) (b W) (bm W)) W
  (bvand (bvand (bvor a am) (bvor b bm)) (bvnot (bvand a b))))
(define-fun or_value ((a W) (am W) (b W) (bm W)) W (bvor a b))
(define-fun or_mask ((a W) (am W) (b W) (bm W)) W (bvand (bvor am bm) (bvnot (bvor a b))))
(define-fun xor_mask ((a W) (am W) (b W) (bm W)) W (bvor am bm))
(define-fun xor_value ((a W) (am W) (b W) (bm W)) W (bvand (bvxor a b) (bvnot (bvor am bm))))

(define-fun join_mask ((a W) (am W) (b W) (bm W)) W (bvor am (bvor bm (bvxor a b))))
(define-fun join_value ((a W) (am W) (b W) (bm W)) W (bvand a (bvnot (join_mask a am b bm))))
(define-fun meets ((a W) (am W) (b W) (bm W)) Bool
  (= zero (bvand (bvxor a b) (bvand (bvnot am) (bvnot bm)))))
(define-fun meet_mask ((a W) (am W) (b W) (bm W)) W (bvand am bm))
(define-fun meet_value ((a W) (am W) (b W) (bm W)) W (bvand (bvor a b) (bvnot (bvand am bm))))

; Every bit from the highest that is set on down.
(define-fun s1 ((x W)) W (bvor x (bvlshr x #x0000000000000001)))
(define-fun s2 ((x W)) W (bvor (s1 x) (bvlshr (s1 x) #x0000000000000002)))
(define-fun s4 ((x W)) W (bvor (s2 x) (bvlshr (s2 x) #x0000000000000004)))
(define-fun s8 ((x W)) W (bvor (s4 x) (bvlshr (s4 x) #x0000000000000008)))
(define-fun s16 ((x W)) W (bvor (s8 x) (bvlshr (s8 x) #x0000000000000010)))
(define-fun smear ((x W)) W (bvor (s16 x) (bvlshr (s16 x) #x0000000000000020)))

(define-fun range_mask ((lo W) (hi W)) W (smear (bvxor lo hi)))
(define-fun range_value ((lo W) (hi W)) W (bvand lo (bvnot (range_mask lo hi))))

(define-fun shl_value ((a W) (k W)) W (bvshl a k))
(define-fun shr_value ((a W) (k W)) W (bvlshr a k))

; The smallest member that is n or more.
(define-fun near ((v W) (m W) (n W)) W (bvor (bvand n m) v))
(define-fun below ((v W) (m W) (n W)) W (bvlshr (smear (bvxor (near v m n) n)) one))
(define-fun free ((v W) (m W) (n W)) W (bvand m (bvand (bvnot n) (bvnot (below v m n)))))
(define-fun lowest ((x W)) W (bvand x (bvneg x)))
(define-fun next ((v W) (m W) (n W)) W
  (ite (bvule n v) v
  (ite (= (near v m n) n) n
  (ite (bvugt (near v m n) n) (bvand (near v m n) (bvnot (bvand m (below v m n))))
    (let ((bit (lowest (free v m n)))) (bvand (bvor (near v m n) bit) (bvnot (bvand m (bvsub bit one)))))))))
(define-fun has_next ((v W) (m W) (n W)) Bool
  (or (bvule n v) (= (near v m n) n) (bvugt (near v m n) n) (not (= (free v m n) zero))))

; ---- ranges

(define-fun within ((lo W) (hi W) (x W)) Bool (and (bvule lo x) (bvule x hi)))
; A word lies below the sign bit in umin..smax, or above it in smin..umax.
(define-fun inside ((umin W) (umax W) (smin W) (smax W) (x W)) Bool
  (or (and (bvult umin sign) (within umin smax x)) (and (bvuge umax sign) (within smin umax x))))

; Bounds of width + 1 words from lo on, going round (Hull::add_round).
(define-fun all ((width W)) Bool (= width ones))
(define-fun end ((lo W) (width W)) W (ite (all width) ones (bvadd lo width)))
(define-fun start ((lo W) (width W)) W (ite (all width) zero lo))
(define-fun wraps ((lo W) (width W)) Bool (bvult (end lo width) (start lo width)))
(define-fun has_low ((lo W) (width W)) Bool (or (wraps lo width) (bvult (start lo width) sign)))
(define-fun has_high ((lo W) (width W)) Bool (or (wraps lo width) (bvuge (end lo width) sign)))
(define-fun low_lo ((lo W) (width W)) W (ite (wraps lo width) zero (start lo width)))
(define-fun low_hi ((lo W) (width W)) W
  (ite (and (wraps lo width) (bvult lo sign)) (bvsub sign one) (umin2 (end lo width) (bvsub sign one))))
(define-fun high_lo ((lo W) (width W)) W
  (ite (and (wraps lo width) (bvuge (end lo width) sign)) sign (umax2 (start lo width) sign)))
(define-fun high_hi ((lo W) (width W)) W (ite (wraps lo width) ones (end lo width)))
(define-fun round_umin ((lo W) (width W)) W (ite (has_low lo width) (low_lo lo width) (high_lo lo width)))
(define-fun round_umax ((lo W) (width W)) W (ite (has_high lo width) (high_hi lo width) (low_hi lo width)))
(define-fun round_smin ((lo W) (width W)) W (ite (has_high lo width) (high_lo lo width) (low_lo lo width)))
(define-fun round_smax ((lo W) (width W)) W (ite (has_low lo width) (low_hi lo width) (high_hi lo width)))
(define-fun in_round ((lo W) (width W) (x W)) Bool
  (inside (round_umin lo width) (round_umax lo width) (round_smin lo width) (round_smax lo width) x))

; Whether two widths together are less than a word.
(define-fun fits ((a W) (b W)) Bool (bvuge (bvadd a b) a))
(define-fun both ((p W) (q W)) W (ite (fits p q) (bvadd p q) ones))
(define-fun sum_width ((a W) (b W) (c W) (d W)) W (both (bvsub b a) (bvsub d c)))
(define-fun span_add_umin ((a W) (b W) (c W) (d W)) W (round_umin (bvadd a c) (sum_width a b c d)))
(define-fun span_add_umax ((a W) (b W) (c W) (d W)) W (round_umax (bvadd a c) (sum_width a b c d)))
(define-fun span_add_smin ((a W) (b W) (c W) (d W)) W (round_smin (bvadd a c) (sum_width a b c d)))
(define-fun span_add_smax ((a W) (b W) (c W) (d W)) W (round_smax (bvadd a c) (sum_width a b c d)))
(define-fun span_sub_umin ((a W) (b W) (c W) (d W)) W (round_umin (bvsub a d) (sum_width a b c d)))
(define-fun span_sub_umax ((a W) (b W) (c W) (d W)) W (round_umax (bvsub a d) (sum_width a b c d)))
(define-fun span_sub_smin ((a W) (b W) (c W) (d W)) W (round_smin (bvsub a d) (sum_width a b c d)))
(define-fun span_sub_smax ((a W) (b W) (c W) (d W)) W (round_smax (bvsub a d) (sum_width a b c d)))
; A left shift by k goes round unless the width's high bits fall off.
(define-fun wide ((p W) (k W)) W (ite (= (bvlshr (bvshl p k) k) p) (bvshl p k) ones))
(define-fun lsh_width ((a W) (b W) (k W)) W (wide (bvsub b a) k))
(define-fun span_lsh_umin ((a W) (b W) (k W)) W (round_umin (bvshl a k) (lsh_width a b k)))
(define-fun span_lsh_umax ((a W) (b W) (k W)) W (round_umax (bvshl a k) (lsh_width a b k)))
