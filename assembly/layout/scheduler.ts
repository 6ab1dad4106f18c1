/** Schedulers. Names in lower case are what ipvsadm -s takes. */
export const RR = 1;
export const WRR = 2;
export const LC = 3;
export const WLC = 4;
export const LBLC = 5;
export const LBLCR = 6;
export const DH = 7;
export const SH = 8;
export const SED = 9;
export const NQ = 10;
export const FO = 11;
export const OVF = 12;
export const MH = 13;
export const TWOS = 14;
export const MAGLEV = 15;
