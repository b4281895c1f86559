"""What people look at: pictures, model cards and reports."""
